// Package sandbox gives a lab a place of its own: a process in new user, mount,
// pid, network, uts and ipc namespaces, with a root directory that shows the machine's programs read-only and nothing else of the machine.
//
//	server ──re-executes itself──▶ init of the sandbox (pid 1, "root" inside)
//	   │                              ├── built-in servers, ping, curl, tools
//	   └────── one socket pair ───────┘
//
// Inside, uid 0 is the learner's root; outside it is nobody in particular: the
// user who serves or, when that is root, a uid that nothing on the machine
// uses. When the init dies, however it dies, the kernel ends every process in
// its pid namespace and takes back every namespace, link, rule and mount
// (pid_namespaces(7), user_namespaces(7)): nothing has to be cleaned up. The
// init dies with its server: by the end of the socket pair, and by
// PR_SET_PDEATHSIG.
package sandbox

// When root serves, uid 0 of a sandbox is one of these on the machine: far from
// people, services and the ranges of systemd and /etc/subuid.
const FirstUID, UIDs = 1_900_000_000, 65536

// Control is the file descriptor on which a sandbox's init finds its end of
// the socket pair.
const Control = 3

// roleVar tells a re-executed process what to be.
const roleVar = "VETHLAB_ROLE"
