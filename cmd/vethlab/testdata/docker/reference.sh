#!/bin/bash
# Plays commands on a real Docker daemon and tells what came of each:
#
#	reference.sh DIR < COMMANDS 3> TOLD
#
# COMMANDS end in a NUL each: WHEN NODE COMMAND. What came of them is told by
# $SELF, which looks at the state too, if it is WHEN (docker_look_linux_test.go).
#
# DIR holds world.sh, which makes the nodes, and image.tar, the root directory
# of every image; root.tar, if it is there, is the daemon's data with the images
# imported, else this script makes it and plays nothing.
#
# It runs as the init of mount, pid, network, uts and ipc namespaces of its own
# (unshare --mount --pid --fork --kill-child --mount-proc --net --uts --ipc): all
# it makes ends with it, but for the cgroup $CGROUP.
set -u
dir=$1
PATH=/usr/sbin:/usr/bin:/sbin:/bin # Debian's docker.io, whatever else there is
export GOGC=${GOGC:-400}            # programs that live so briefly need collect no garbage
exec 1>/dev/null

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
mkdir /run/netns /run/nodes
tar -C "$dir/own" -xf "$dir/image.tar" www

# nap SECONDS sleeps, and starts no process for it.
mkfifo /run/never
exec {never}<>/run/never
nap() { read -rt "$1" -u "$never"; }

. "$dir/world.sh" # defines every node as /run/netns/NODE; no machine sees another there
for node in /run/netns/*; do
	touch "/run/nodes/${node##*/}"
	mount --bind "$node" "/run/nodes/${node##*/}"
	umount "$node"
	rm "$node"
done

# machine NODE: the daemon of that machine is meant from here on. The machine
# "host" is alone and has everything where Docker has it, and a containerd that
# goes on when dockerd is restarted, as in Debian; others have their own.
machine() {
	m=$1 own=$dir/own sock=/run/docker.sock flags=(--containerd /run/containerd.sock) enter=()
	if [[ $m != host ]]; then
		own=$dir/own/$m sock=$dir/own/$m/docker.sock
		flags=(--exec-root "$own/exec" --pidfile "$own/docker.pid" -H "unix://$sock")
		enter=(unshare --uts bash -c 'hostname "$0" && exec "$@"' "$m")
		export DOCKER_HOST=unix://$sock
	fi
}

# start runs the real dockerd on the machine until it listens or ends, and prints
# what it says that is not a line of its log.
start() {
	local log=$own/dockerd.log i
	DOCKER_DRIVER=vfs nsenter --net="/run/nodes/$m" "${enter[@]}" "$real" --data-root "$own/root" --cgroup-parent "$CGROUP" "${flags[@]}" "$@" >"$log" 2>&1 3>&- &
	local pid=$!
	for ((i = 0; i < 6000; i++)); do
		if [[ ! -e $own/pid && -S $sock ]] && curl -s --unix-socket "$sock" http://docker/_ping; then # it answers when all is there
			echo $pid >"$own/pid"
			return 0
		fi
		if [[ ! -d /proc/$pid ]]; then
			wait $pid
			local status=$?
			grep -v '^time=' "$log" >&2
			return $status
		fi
		nap 0.01
	done >/dev/null
	cat "$log" >&2
	return 99
}

stop() {
	local pid i
	[[ -e $own/pid ]] && read -r pid <"$own/pid" || return 0
	kill "$pid"
	for ((i = 0; i < 6000; i++)); do
		[[ -d /proc/$pid ]] || break
		read -r _ _ state _ <"/proc/$pid/stat" && [[ $state == Z ]] && break
		nap 0.01
	done 2>/dev/null
	wait "$pid" 2>/dev/null
	rm -f "$own/pid" "$sock"
}

if [[ -e /run/nodes/host ]]; then
	printf 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n' >"$dir/own/containerd.toml" # which is Kubernetes'
	containerd --config "$dir/own/containerd.toml" --root "$dir/own/containerd" --state /run/containerd -a /run/containerd.sock >/dev/null 2>&1 3>&- &
fi
real=$(type -P dockerd)
dockerd() { start "$@"; }

# systemctl, for the one unit that matters here; flags are those of Debian's unit.
systemctl() {
	local failed='Job for docker.service failed because the control process exited with error code.
See "systemctl status docker.service" and "journalctl -xeu docker.service" for details.'
	case "$*" in
	'start docker') [[ -e $own/pid ]] || start 2>/dev/null || { echo "$failed" >&2; return 1; } ;;
	'stop docker') stop ;;
	'restart docker')
		stop
		start 2>/dev/null || { echo "$failed" >&2; return 1; }
		;;
	esac
}

# in_node NODE COMMAND: in a container, with its files of /etc, and the machine's
# programs.
in_node() {
	if [[ -e /run/nodes/$1 ]]; then
		nsenter --net="/run/nodes/$1" bash -c "$2"
		return
	fi
	local files pid
	for files in "$dir"/own/{,host1/,host2/}root/containers/*; do
		grep -qs "\"Name\":\"/$1\"" "$files/config.v2.json" || continue
		pid=$(grep -o '"Pid":[0-9]*' "$files/config.v2.json")
		nsenter --net="/proc/${pid#*:}/ns/net" unshare --mount bash -c 'mount --bind "$1" /etc/hosts && mount --bind "$2" /etc/resolv.conf && exec bash -c "$3"' \
			bash "$files/hosts" "$files/resolv.conf" "$2"
		return
	done
	echo "no container $1" >&2
	return 99
}

if [[ ! -e $dir/root.tar ]]; then
	machine host
	start || exit
	image() { # image NAME PORT COMMAND
		docker import --change "CMD [$3]" ${2:+--change "EXPOSE $2"} "$dir/image.tar" "$1"
	}
	image busybox '' '"main","sleep","1000000"' &&
		image nginx 80 '"main","httpd","-f","-p","80","-h","/www"' &&
		image training/webapp 5000 '"main","httpd","-f","-p","5000","-h","/www"' || exit
	stop
	rm -rf "$own/root/network"
	tar -C "$own/root" -cf "$dir/root.tar" .
	exit
fi

for m in host host1 host2; do
	[[ -e /run/nodes/$m ]] || continue
	machine "$m"
	mkdir -p "$own/root"
	tar -C "$own/root" -xf "$dir/root.tar"
done
coproc LOOK { exec "$SELF" "$LOOKS" "$dir"; }
exec 3>&-
look() { # see docker_look_linux_test.go
	echo "$*" >&"${LOOK[1]}" && read -r <&"${LOOK[0]}" || exit 1
}

while read -rd '' when node line; do
	if [[ $line == *'$WORKER'* ]]; then # what a manager says to join with
		machine host1
		WORKER=$(docker swarm join-token -q worker)
		export WORKER
	fi
	[[ $node == host || $node == host1 || $node == host2 ]] && machine "$node"
	begin=${EPOCHREALTIME/./}
	if [[ $node == host* && $line =~ ^(dockerd|systemctl)\  ]]; then
		eval "${line% &}"
	else
		[[ $line == *http.server*'&' ]] && line="${line%&} >/dev/null 2>&1 &" # which the lab's does not print either
		in_node "$node" "$line"
	fi </dev/null >"$dir/own/out" 2>"$dir/own/err"
	status=$? took=$((${EPOCHREALTIME/./} - begin))
	if [[ $m != host && $status == 0 ]]; then # daemons tell each other
		case $line in
		'docker swarm init'* | 'docker swarm join --token'*) look join "$m" ;;
		'docker swarm '* | 'docker run '* | 'docker start '* | 'docker stop '* | 'docker rm '* | 'docker network '*connect*) look settle ;;
		esac
	fi
	[[ $line =~ http.server\ ([0-9]+) ]] && look listens "$node" "${BASH_REMATCH[1]}"
	case $line in
	'docker rm '*) nap 0.3 ;; # the kernel takes namespaces away later
	esac
	look tell $status $took "$when"
done
