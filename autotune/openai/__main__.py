"""``python -m autotune.openai FOLDER_OR_TABLE --port 8000``."""

from autotune.openai import main

if __name__ == "__main__":
    main()
