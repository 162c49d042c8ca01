# strongroom with the packages of `strongroom serve`. The build's context is the root of the repository.
FROM python:3.13-slim AS build
COPY . /src
RUN python3 -m venv /opt/strongroom && /opt/strongroom/bin/pip install --no-cache-dir "/src[cli,serve]"

FROM python:3.13-slim
RUN apt-get update && apt-get install --yes --no-install-recommends postgresql-client && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home strongroom \
    && install --directory --owner=strongroom --group=strongroom --mode=0700 /var/lib/strongroom \
    && install --directory --owner=strongroom --group=strongroom --mode=0750 /run/strongroom
COPY --from=build /opt/strongroom /opt/strongroom
COPY docker/temporal/init.sh docker/temporal/serve.toml /usr/local/share/strongroom/
ENV PATH=/opt/strongroom/bin:$PATH STRONGROOM_CONFIG=/var/lib/strongroom/strongroom.toml
USER strongroom
WORKDIR /var/lib/strongroom
