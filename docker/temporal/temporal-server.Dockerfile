# Temporal's server with Strongroom's stores. The build's context is the root of the repository.
FROM golang:1.26-alpine AS build
WORKDIR /src/temporal
COPY temporal/go.mod temporal/go.sum ./
RUN go mod download
COPY temporal ./
RUN CGO_ENABLED=0 go build -o /temporal-server-strongroom ./cmd/temporal-server-strongroom

FROM alpine:3.22
# The same number as in strongroom.Dockerfile: the server of the stores accepts its own user only.
RUN adduser -D -u 10001 temporal
COPY --from=build /temporal-server-strongroom /usr/local/bin/
USER temporal
