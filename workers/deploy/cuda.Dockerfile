# autotune for workers with NVIDIA GPUs; needs the NVIDIA container toolkit on the host.
#   docker build --file workers/deploy/cuda.Dockerfile --tag autotune:cuda .
# torch's wheels bring CUDA's libraries with them; the driver comes from the host.
FROM python:3.11.14-slim-bookworm

# torch.compile builds its kernels with a C++ compiler, and Triton its launcher with a C compiler.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc g++ \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/autotune
COPY pyproject.toml README.md LICENSE ./
COPY autotune autotune
COPY plugins plugins
COPY workers workers
COPY studies studies
RUN pip install --no-cache-dir ".[all]"

# Nothing runs as root, and nothing but /data is written to.
RUN useradd --uid 10001 --create-home autotune && install --directory --owner autotune /data
USER 10001
WORKDIR /data
ENV AUTOTUNE_CACHE_DIR=/data/cache HF_HUB_OFFLINE=1 \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
ENTRYPOINT ["autotune"]
CMD ["--help"]
