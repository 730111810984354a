#!/bin/bash
# Plays lines on a real Docker daemon and tells what came of each. It runs as
# the init of mount, pid, network, uts and ipc namespaces of its own (unshare
# --mount --pid --fork --kill-child --mount-proc --net --uts --ipc), so that all
# it makes ends with it; what it leaves is the cgroup $CGROUP, if it is killed.
#
#	reference.sh DIR < LINES
#
# DIR holds world.sh, which makes the nodes, and image.tar, the root directory
# of every image; root.tar, if it is there, is the daemon's data with the images
# imported, else this script makes it. A line is NODE, a blank, and a command
# in base64. What came of it goes to descriptor 3, a line for each part: its
# name, a blank, and base64.
set -u
dir=$1
PATH=/usr/sbin:/usr/bin:/sbin:/bin # Debian's docker.io, whatever else there is
exec 3>&1 1>/dev/null

mount --make-rprivate /
mkdir -p "$dir/own"
mount -t tmpfs tmpfs "$dir/own"
mkdir "$dir/own/etc" "$dir/own/root"
cp -a /etc/. "$dir/own/etc"
rm -rf "$dir/own/etc/docker"
mkdir "$dir/own/etc/docker"
printf 'nameserver 10.24.254.1\n' >"$dir/own/etc/resolv.conf"
mount --bind "$dir/own/etc" /etc
mount -t tmpfs tmpfs /run
mkdir /run/netns
tar -C "$dir/own" -xf "$dir/image.tar" www
data=$dir/own/root

. "$dir/world.sh" # defines every node as /run/netns/NODE; no machine sees another there
mkdir /run/nodes
for node in /run/netns/*; do
	touch "/run/nodes/${node##*/}"
	mount --bind "$node" "/run/nodes/${node##*/}"
	ip netns del "${node##*/}"
done

# in_node NODE COMMAND...: in a container, with its files of /etc, and the
# machine's programs.
in_node() {
	local node=$1 file=/run/nodes/$1 pid hosts resolv
	shift
	if [[ -e $file ]]; then
		nsenter --net="$file" "$@"
		return
	fi
	read -r pid hosts resolv < <(docker inspect -f '{{.State.Pid}} {{.HostsPath}} {{.ResolvConfPath}}' "$node") || return
	nsenter --net="/proc/$pid/ns/net" unshare --mount bash -c 'mount --bind "$1" /etc/hosts && mount --bind "$2" /etc/resolv.conf && shift 2 && exec "$@"' \
		bash "$hosts" "$resolv" "$@"
}

# start runs the real dockerd on the host until it listens or ends, and prints
# what it says that is not a line of its log.
start() {
	local log=$dir/own/dockerd.log i
	DOCKER_DRIVER=vfs nsenter --net=/run/nodes/host "$real" --data-root "$data" --cgroup-parent "$CGROUP" "$@" >"$log" 2>&1 3>&- &
	local pid=$!
	for ((i = 0; i < 600; i++)); do
		if [[ ! -e $dir/own/pid && -S /run/docker.sock ]] && curl -s --unix-socket /run/docker.sock http://docker/_ping; then
			echo $pid >"$dir/own/pid"
			return 0
		fi
		if [[ ! -d /proc/$pid ]]; then
			wait $pid
			local status=$?
			grep -v '^time=' "$log" >&2
			return $status
		fi
		sleep 0.02
	done >/dev/null
	cat "$log" >&2
	return 99
}

stop() {
	local pid i
	pid=$(cat "$dir/own/pid" 2>/dev/null) || return 0
	kill "$pid"
	for ((i = 0; i < 1000; i++)); do
		[[ -d /proc/$pid ]] || break
		read -r _ _ state _ <"/proc/$pid/stat" && [[ $state == Z ]] && break
		sleep 0.01
	done 2>/dev/null
	wait "$pid" 2>/dev/null
	rm -f "$dir/own/pid" /run/docker.sock
	while pgrep -x containerd >/dev/null; do sleep 0.01; done
}

dockerd() { start "$@"; }

# systemctl, for the one unit that matters here; flags are those of Debian's unit.
systemctl() {
	local failed='Job for docker.service failed because the control process exited with error code.
See "systemctl status docker.service" and "journalctl -xeu docker.service" for details.'
	case "$*" in
	'start docker') [[ -e $dir/own/pid ]] || start 2>/dev/null || { echo "$failed" >&2; return 1; } ;;
	'stop docker') stop ;;
	'restart docker')
		stop
		start 2>/dev/null || { echo "$failed" >&2; return 1; }
		;;
	esac
}

tell() { printf '%s %s\n' "$1" "$(base64 -w0)" >&3; }

# look NODE FILE: the state of a network namespace.
look() {
	local enter="nsenter --net=$2"
	$enter ip -d -j addr | tell "$1:addr"
	$enter ip -j route | tell "$1:route"
	$enter iptables-save | tell "$1:rules"
	$enter ss -Hltunp | tell "$1:sockets"
	$enter bash -c 'cd /proc/sys/net && grep . /proc/sys/net/{ipv4/ip_forward,ipv4/conf/*/route_localnet,bridge/bridge-nf-call-iptables} 2>/dev/null' | tell "$1:sysctls"
}

look_all() {
	look host /run/nodes/host
	[[ -e $dir/own/pid ]] || return
	local ids name pid mode hosts resolv hostname
	ids=$(docker ps -q --no-trunc)
	[[ -n $ids ]] || return
	docker inspect -f '{{.Name}} {{.State.Pid}} {{.HostConfig.NetworkMode}} {{.HostsPath}} {{.ResolvConfPath}} {{.HostnamePath}}' $ids |
		while read -r name pid mode hosts resolv hostname; do
			name=${name#/}
			case $mode in
			host | container:*) continue ;;
			esac
			look "$name" "/proc/$pid/ns/net"
			tell "$name:/etc/hosts" <"$hosts"
			tell "$name:/etc/resolv.conf" <"$resolv"
			tell "$name:/etc/hostname" <"$hostname"
		done
}

real=$(command -v dockerd)
[[ $(type -t dockerd) == function ]] && real=$(type -P dockerd)

if [[ -e $dir/root.tar ]]; then
	tar -C "$data" -xf "$dir/root.tar"
else
	start || exit
	image() { # image NAME PORT COMMAND
		docker import --change "CMD [$3]" ${2:+--change "EXPOSE $2"} "$dir/image.tar" "$1"
	}
	image busybox '' '"main","sleep","1000000"' &&
		image nginx 80 '"main","httpd","-f","-p","80","-h","/www"' &&
		image training/webapp 5000 '"main","httpd","-f","-p","5000","-h","/www"' || exit
	stop
	rm -rf "$data"/network
	tar -C "$data" -cf "$dir/root.tar" .
	exit
fi

while read -r node line; do
	line=$(base64 -d <<<"$line")
	begin=${EPOCHREALTIME/./}
	if [[ $node == host && $line =~ ^(dockerd|systemctl)\  ]]; then
		eval "${line% &}" >"$dir/own/out" 2>"$dir/own/err" 3>&-
		status=$?
	else
		[[ $line == *http.server*'&' ]] && line="${line%&} >/dev/null 2>&1 &" # which the lab's does not print either
		in_node "$node" bash -c "$line" >"$dir/own/out" 2>"$dir/own/err" 3>&-
		status=$?
	fi
	tell us <<<$((${EPOCHREALTIME/./} - begin))
	tell stdout <"$dir/own/out"
	tell stderr <"$dir/own/err"
	case $line in 'docker rm '*) sleep 0.3 ;; esac # the kernel takes namespaces away later
	case $line in *docker*) look_all ;; esac
	tell status <<<$status
done
stop
