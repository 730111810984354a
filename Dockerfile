# vethlab in a container:
#
#   docker build -t vethlab .
#   docker run --rm -p 127.0.0.1:8642:8642 \
#     --security-opt seccomp=unconfined \
#     --security-opt apparmor=unconfined \
#     --security-opt systempaths=unconfined vethlab
#
# Why these flags. A lab is made of new user, mount, pid and network namespaces
# inside the container, by an ordinary user. Docker's defaults forbid that three
# times over:
#
#   seccomp      its filter answers clone and unshare with namespace flags, and
#                mount, with EPERM to whoever lacks CAP_SYS_ADMIN
#   apparmor     its profile (docker-default) denies every mount; on machines
#                without AppArmor the flag changes nothing
#   systempaths  it hides parts of /proc, and the kernel then refuses a fresh
#                /proc in a user namespace (mount_too_revealing, fs/namespace.c)
#
# No capability and no --privileged is needed, and the process stays uid 8642.
# On Ubuntu 23.10 and later the machine itself must allow user namespaces too:
# `docker run … vethlab doctor` says whether it does, and what to do.

FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN make build

FROM debian:12-slim
RUN apt-get update \
	&& apt-get install -y --no-install-recommends bridge-utils conntrack curl iproute2 iptables iputils-ping \
	&& rm -rf /var/lib/apt/lists/* \
	&& useradd --uid 8642 --create-home vethlab
COPY --from=build /src/vethlab /usr/local/bin/vethlab
USER vethlab
EXPOSE 8642
ENTRYPOINT ["vethlab"]
CMD ["serve", "--listen", "0.0.0.0:8642"]
