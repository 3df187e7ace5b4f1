# A runner with the suite's pinned packages in place; the project itself is mounted, see docs/ci.md.
# torch brings CUDA with it, so the host needs NVIDIA's driver and container toolkit and nothing else.
FROM python:3.11-slim-bookworm

# git: which commit is measured; make and g++: the project's commands, and the compiled model.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ git make \
    && rm -rf /var/lib/apt/lists/* \
    && git config --system --add safe.directory '*'

WORKDIR /suite
COPY requirements.lock requirements-tools.lock pyproject.toml README.md ./
COPY servegate servegate
RUN python -m pip install --no-cache-dir --requirement requirements.lock --requirement requirements-tools.lock \
    && python -m pip install --no-cache-dir --no-deps --no-build-isolation .

CMD ["pytest", "--help"]
