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

. "$dir/world.sh" # defines every node as /run/netns/NODE; no machine sees another there
mkdir /run/nodes
for node in /run/netns/*; do
	touch "/run/nodes/${node##*/}"
	mount --bind "$node" "/run/nodes/${node##*/}"
	ip netns del "${node##*/}"
done

# machine NODE: the daemon of that machine is meant from here on. The machine
# "host" is alone and has everything where Docker has it; others have their own.
machines=()
for m in host host1 host2; do [[ -e /run/nodes/$m ]] && machines+=("$m"); done
machine() {
	m=$1 own=$dir/own sock=/run/docker.sock flags=() enter=()
	if [[ $m != host ]]; then
		own=$dir/own/$m sock=$dir/own/$m/docker.sock
		flags=(--exec-root "$own/exec" --pidfile "$own/docker.pid" -H "unix://$sock")
		enter=(unshare --uts bash -c 'hostname "$0" && exec "$@"' "$m")
		export DOCKER_HOST=unix://$sock
	fi
	data=$own/root
}

# running tells of each container of the machine that runs its name, its pid, its
# network's mode and its directory, from the daemon's own files: docker ps says
# the same, and takes as long as all the rest of a look.
running() {
	local files config mode pid
	for files in "$data"/containers/*; do
		[[ -s $files/config.v2.json && -s $files/hostconfig.json ]] || continue
		config=$(<"$files/config.v2.json") mode=$(<"$files/hostconfig.json")
		[[ $config == *'"Running":true'* && $mode =~ '"NetworkMode":"'([^\"]*) ]] || continue
		mode=${BASH_REMATCH[1]}
		[[ $config =~ '"Pid":'([0-9]+) ]] && pid=${BASH_REMATCH[1]}
		[[ $config =~ '"Name":"/'([^\"]*) ]] && echo "${BASH_REMATCH[1]} $pid $mode $files"
	done
}

# in_node NODE COMMAND...: in a container, with its files of /etc, and the
# machine's programs.
in_node() {
	local node=$1 file=/run/nodes/$1 name pid files
	shift
	if [[ -e $file ]]; then
		nsenter --net="$file" "$@"
		return
	fi
	for m in "${machines[@]}"; do
		machine "$m"
		read -r name pid _ files < <(running | grep "^$node ") && break
	done
	nsenter --net="/proc/$pid/ns/net" unshare --mount bash -c 'mount --bind "$1" /etc/hosts && mount --bind "$2" /etc/resolv.conf && shift 2 && exec "$@"' \
		bash "$files/hosts" "$files/resolv.conf" "$@"
}

# start runs the real dockerd on the machine until it listens or ends, and prints
# what it says that is not a line of its log.
start() {
	local log=$own/dockerd.log i
	DOCKER_DRIVER=vfs nsenter --net="/run/nodes/$m" "${enter[@]}" "$real" --data-root "$data" --cgroup-parent "$CGROUP" "${flags[@]}" "$@" >"$log" 2>&1 3>&- &
	local pid=$!
	for ((i = 0; i < 600; i++)); do
		if [[ ! -e $own/pid && -S $sock ]] && curl -s --unix-socket "$sock" http://docker/_ping; then
			echo $pid >"$own/pid"
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
	pid=$(cat "$own/pid" 2>/dev/null) || return 0
	kill "$pid"
	for ((i = 0; i < 1000; i++)); do
		[[ -d /proc/$pid ]] || break
		read -r _ _ state _ <"/proc/$pid/stat" && [[ $state == Z ]] && break
		sleep 0.01
	done 2>/dev/null
	wait "$pid" 2>/dev/null
	rm -f "$own/pid" "$sock"
	[[ $m == host ]] || return 0
	while pgrep -x containerd >/dev/null; do sleep 0.01; done
}

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

tell() { printf '%s %s\n' "$1" "$(base64 -w0)" >&3; }

# carried reads ip -o link, and fails while a bridge has yet to hear of its
# ports' carrier: linkwatch tells it up to a second later.
carried() {
	awk '{
		name = $2; sub(/[@:].*/, "", name); up[name] = $3 ~ /[<,]UP[,>]/; live[name] = $3 ~ /LOWER_UP/
		for (i = 4; i < NF; i++) if ($i == "master") { bridge[$(i+1)]; if (live[name]) lives[$(i+1)] }
	}
	END { for (b in bridge) if (up[b] && live[b] != (b in lives)) exit 1 }'
}

# look NODE FILE: the state of a network namespace.
look() {
	local enter="nsenter --net=$2" i
	[[ $2 == /proc/* ]] || # a container has no bridge
		for ((i = 0; i < 100; i++)); do $enter ip -o link | carried && break || sleep 0.02; done
	$enter ip -d -j addr | tell "$1:addr"
	$enter ip -j route | tell "$1:route"
	$enter iptables-save | tell "$1:rules"
	$enter ss -Hltunp | tell "$1:sockets"
	case $1 in */1-*)
		$enter bridge fdb show dev vxlan0 | tell "$1:fdb"
		$enter ip neigh show nud permanent | tell "$1:neigh"
		;;
	esac
	[[ -e /run/nodes/$1 ]] || return # a container's settings are the machine's first namespace's
	$enter bash -c 'cd /proc/sys/net && grep . /proc/sys/net/{ipv4/ip_forward,ipv4/conf/*/route_localnet,bridge/bridge-nf-call-iptables} 2>/dev/null' | tell "$1:sysctls"
}

# network_of FILE: $label is a network's namespace, by the network's name instead
# of its ID.
declare -A labels
network_of() {
	local id name
	if [[ -z ${labels[$1]:-} ]]; then
		while read -r id name; do
			labels[1-${id:0:10}]=1-$name labels[lb_${id:0:9}]=lb_$name
		done < <(docker network ls --no-trunc --format '{{.ID}} {{.Name}}')
	fi
	label=$m/${labels[$1]:-}
}

look_all() {
	for m in "${machines[@]}"; do
		machine "$m"
		look_machine
	done
}

look_machine() {
	look "$m" "/run/nodes/$m"
	[[ -e $own/pid ]] || return
	local file
	for file in "$own"/exec/netns/*; do # of overlay networks
		mountpoint -q "$file" || continue
		case ${file##*/} in
		ingress_sbox) look "$m/ingress_sbox" "$file" ;;
		1-* | lb_*) network_of "${file##*/}" && look "$label" "$file" ;;
		esac
	done
	local name pid mode files
	running | while read -r name pid mode files; do
		case $mode in
		host | container:*) continue ;;
		esac
		look "$name" "/proc/$pid/ns/net"
		tell "$name:/etc/hosts" <"$files/hosts"
		tell "$name:/etc/resolv.conf" <"$files/resolv.conf"
		tell "$name:/etc/hostname" <"$files/hostname"
	done
}

real=$(command -v dockerd)
[[ $(type -t dockerd) == function ]] && real=$(type -P dockerd)

machine "${machines[0]}"
if [[ -e $dir/root.tar ]]; then
	for m in "${machines[@]}"; do
		machine "$m"
		mkdir -p "$data"
		tar -C "$data" -xf "$dir/root.tar"
	done
else
	mkdir -p "$data"
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

# settle LINE waits until daemons that tell each other of a change have done so:
# until nothing has changed for a second.
settle() {
	local before='' now same=0 i file
	case $1 in 'docker swarm init'* | 'docker swarm join --token'*)
		for ((i = 0; i < 100; i++)); do
			nsenter --net="$own/exec/netns/ingress_sbox" ip route 2>/dev/null | grep -q default && break
			sleep 0.1
		done
		;;
	esac
	for ((i = 0; i < 60 && same < 3; i++)); do
		sleep 0.3
		now=$(
			for file in /run/nodes/host?; do nsenter --net="$file" ip -o link; done
			for file in "$dir"/own/host?/exec/netns/1-*; do nsenter --net="$file" ip neigh show nud permanent; done 2>/dev/null
		)
		if [[ $now == "$before" ]]; then ((++same)); else same=0; fi
		before=$now
	done
}

while read -r node line; do
	line=$(base64 -d <<<"$line")
	if [[ $line == *'$WORKER'* ]]; then # what a manager says to join with
		machine host1
		WORKER=$(docker swarm join-token -q worker)
		export WORKER
	fi
	[[ $node == host || $node == host1 || $node == host2 ]] && machine "$node"
	begin=${EPOCHREALTIME/./}
	if [[ $node == host* && $line =~ ^(dockerd|systemctl)\  ]]; then
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
	case $line in
	'docker swarm '* | 'docker run '* | 'docker start '* | 'docker stop '* | 'docker rm '* | 'docker network '*connect*)
		[[ $m == host || $status != 0 ]] || settle "$line"
		;;&
	'docker rm '*) sleep 0.3 ;; # the kernel takes namespaces away later
	esac
	case $node:$status:$line in # of two machines there is much to look at
	host[12]:[1-9]* | host[12]:0:'docker network ls'* | host[12]:0:'docker network inspect'* | host[12]:0:'docker node ls'*) ;;
	*docker*) look_all ;;
	esac
	tell status <<<$status
done
for m in "${machines[@]}"; do
	machine "$m"
	stop
done
