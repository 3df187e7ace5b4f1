# A runner with the pinned packages of the service and the gate in place; the project itself is mounted, see docs/ci.md.
# torch brings CUDA with it, so the host needs NVIDIA's driver and container toolkit and nothing else.
FROM python:3.11-slim-bookworm

# git: which commit is measured; make and g++: the project's commands, and the compiled model.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ git make \
    && rm -rf /var/lib/apt/lists/* \
    && git config --system --add safe.directory '*'

WORKDIR /suite
COPY requirements.lock requirements-gate.lock pyproject.toml README.md LICENSE ./
COPY servegate servegate
RUN python -m pip install --no-cache-dir --require-hashes \
        --requirement requirements.lock --requirement requirements-gate.lock \
    && python -m pip install --no-cache-dir --no-deps --no-build-isolation .

CMD ["pytest", "--help"]
