# The demo: its reports and sessions are made while the image is built, and a container serves them.
#
#   docker build --file config/demo.Dockerfile --tag peak-trade-demo .
#   docker run --rm --publish 127.0.0.1:8501:8501 peak-trade-demo
FROM python:3.11.9-slim-bookworm
# hadolint ignore=DL3008
RUN apt-get update \
  && apt-get install --yes --no-install-recommends make \
  && rm -rf /var/lib/apt/lists/* \
  && useradd --create-home --uid 1000 trader
USER 1000
WORKDIR /home/trader/peak_trade
COPY --chown=1000 . .
RUN make env && make demo
ENV PATH="/home/trader/peak_trade/.venv/bin:$PATH"
EXPOSE 8501
CMD ["peak-trade", "site", "serve", "--host", "0.0.0.0", "--port", "8501"]
