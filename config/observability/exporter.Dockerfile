# The exporter of compose.yml: the packages of requirements.lock and this repository.
FROM python:3.11.9-slim-bookworm
WORKDIR /src
COPY requirements.lock ./
RUN pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE CHANGELOG.md _quarto.yml index.md ./
COPY config config
COPY docs docs
COPY notebooks notebooks
COPY reports/styles reports/styles
COPY peak_trade peak_trade
RUN pip install --no-cache-dir --no-deps --no-build-isolation .
ENV NUMBA_CACHE_DIR=/tmp/numba
ENTRYPOINT ["peak-trade"]
