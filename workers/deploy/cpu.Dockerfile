# autotune for machines without a GPU: coordinator, API, dashboard and CPU workers.
#   docker build --file workers/deploy/cpu.Dockerfile --tag autotune:cpu .
FROM python:3.11.14-slim-bookworm

# torch.compile builds its kernels with a C++ compiler.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/autotune
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY autotune autotune
COPY plugins plugins
COPY workers workers
COPY studies studies
# The wheel of torch without CUDA is a tenth of the other one's size.
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu \
        --constraint constraints.txt "torch==2.13.0+cpu" ".[all]"

# Nothing runs as root, and nothing but /data is written to.
RUN useradd --uid 10001 --create-home autotune && install --directory --owner autotune /data
USER 10001
WORKDIR /data
ENV AUTOTUNE_CACHE_DIR=/data/cache HF_HUB_OFFLINE=1
ENTRYPOINT ["autotune"]
CMD ["--help"]
