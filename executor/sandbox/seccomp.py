"""The system calls that no container may make, on either engine: one seccomp profile. Pure.

It refuses what Docker's default profile refuses, by name instead of by omission, which makes it a
tenth as long: a long one costs each container some milliseconds. Docker reads the same JSON as an OCI runtime. Calls that the kernel refuses
without capabilities anyway are in it too, so that mistakes in their code cannot be reached. Beyond
Docker's: other processes' memory, io_uring, families and protocols of sockets whose modules a script could
have the kernel load, and whatever takes from a stock that all of the host shares, where one script could
leave nothing for anybody. jobinit filters again.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Collection
from functools import cache
from typing import Any

EPERM, ENOSYS, EPROTONOSUPPORT, EAFNOSUPPORT = 1, 38, 93, 97
NOTHING = 0
"""The answer of a call that does nothing and says that it went well."""
CLONE_NEW = (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)
"""clone's flags for namespaces: mnt, cgroup, uts, ipc, user, pid, net."""
FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10}
"""The families of sockets that there are for a script. What waits in netlink's is nobody's memory."""
AF_NETLINK = 16
"""For holders, which load the rules of their network with it."""
ICMP, PROTOCOL_MAX = 1, 17
"""UDP. Beyond it are ICMPv6, whose queue, like ICMP's, is nobody's memory, and SCTP, DCCP, L2TP, UDP-Lite and
MPTCP, whose modules the kernel would load for who asks."""
SOCK_DCCP, TYPE_MASK = 6, 0xF
INT = 0xFFFFFFFF
"""The bits of an argument that the kernel looks at where it is an int."""
SOL_SOCKET, SO_RCVBUF, SO_TIMESTAMPING, SO_TIMESTAMPING_NEW = 1, 8, 37, 65
ERROR_QUEUES = ((0, 11), (41, 25), (SOL_SOCKET, SO_TIMESTAMPING), (SOL_SOCKET, SO_TIMESTAMPING_NEW))
"""IP_RECVERR, IPV6_RECVERR and time stamps: what waits in a socket's queue of errors is nobody's memory either."""
F_SETSIG, F_NOTIFY = 10, 1026
INIT = 1
"""Process 1: a signal that says to come from the kernel would end it."""
MAP_HUGETLB, MFD_HUGETLB, SHM_HUGETLB = 0x40000, 4, 0o4000
ASKS_ONLY = 0xFFFFFFFF
"""The argument with which personality() changes nothing."""

ARCHITECTURES = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}

REFUSED = (
    # mounts and roots
    "mount", "umount", "umount2", "pivot_root", "chroot", "open_tree", "move_mount", "fsopen", "fsconfig",
    "fsmount", "fspick", "mount_setattr", "statmount", "listmount", "open_tree_attr",
    # namespaces
    "unshare", "setns",
    # the kernel itself
    "init_module", "finit_module", "delete_module", "create_module", "query_module", "get_kernel_syms",
    "kexec_load", "kexec_file_load", "reboot", "bpf", "perf_event_open", "lookup_dcookie", "syslog",
    "iopl", "ioperm", "vm86", "vm86old", "modify_ldt", "_sysctl", "sysfs", "ustat", "uselib", "nfsservctl",
    # the host's clock, names, accounting, swap, terminals
    "clock_settime", "clock_settime64", "clock_adjtime", "clock_adjtime64", "adjtimex", "settimeofday", "stime",
    "sethostname", "setdomainname", "acct", "quotactl", "quotactl_fd", "swapon", "swapoff", "vhangup",
    # keyrings, which have no namespace
    "add_key", "request_key", "keyctl",
    # other processes
    "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "pidfd_getfd",
    # files behind the back of mounts
    "open_by_handle_at", "name_to_handle_at", "fanotify_init",
    # memory: faults handled by a script, and where on the machine it lies
    "userfaultfd", "mbind", "set_mempolicy", "set_mempolicy_home_node", "get_mempolicy", "move_pages", "migrate_pages",
    # a second door to most of the above
    "io_uring_setup", "io_uring_enter", "io_uring_register",
)  # fmt: skip
ABSENT = (
    # Its flags lie in memory, where a filter cannot look; libraries then use clone.
    "clone3",
    # 128 for each user of the host, root of a container in a user namespace counts as the host's
    "inotify_init", "inotify_init1",
    # 65,536 places for all of the host's programs, databases among them
    "io_setup",
)  # fmt: skip
"""Answered as by a kernel without them, so that libraries take another way."""


@cache
def text(*, netlink: bool = False) -> str | None:
    """The profile as JSON, as Docker takes it; None as for `profile`."""
    known = profile(netlink=netlink)
    return None if known is None else json.dumps(known)


def profile(*, netlink: bool = False) -> dict[str, Any] | None:
    """The profile in OCI's words, with netlink for a holder; None for a machine whose architecture it does not know."""
    architecture = ARCHITECTURES.get(platform.machine())
    if architecture is None:
        return None
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": [architecture],
        "syscalls": [
            _refuse(REFUSED),
            *(_refuse(["clone"], _argument(0, "SCMP_CMP_MASKED_EQ", flag, flag)) for flag in CLONE_NEW),
            _refuse(ABSENT, errno=ENOSYS),
            _refuse(["personality"], _argument(0, "SCMP_CMP_NE", ASKS_ONLY)),
            *_sockets({*FAMILIES.values(), *([AF_NETLINK] if netlink else [])}),
            *_signals(),
            # The host's huge pages, which are counted as nobody's memory
            _refuse(["mmap"], _argument(3, "SCMP_CMP_MASKED_EQ", MAP_HUGETLB, MAP_HUGETLB)),
            _refuse(["memfd_create"], _argument(1, "SCMP_CMP_MASKED_EQ", MFD_HUGETLB, MFD_HUGETLB)),
            _refuse(["shmget"], _argument(2, "SCMP_CMP_MASKED_EQ", SHM_HUGETLB, SHM_HUGETLB)),
            # It writes out every disk of the host; what a script writes is in memory, or written out by the service.
            _refuse(["sync", "syncfs"], errno=NOTHING),
        ],
    }


def _signals() -> list[dict[str, Any]]:
    """Refuse signals to process 1 that say to come from the kernel, as for a fault of its own; and dnotify,
    which tells of what others do with the files of an image."""
    return [
        _refuse(["rt_sigqueueinfo", "rt_tgsigqueueinfo"], _int(0, INIT)),
        _refuse(["pidfd_send_signal"], _argument(2, "SCMP_CMP_NE", 0)),
        *(_refuse(["fcntl"], _int(1, command)) for command in (F_SETSIG, F_NOTIFY)),
    ]


def _sockets(allowed: Collection[int]) -> list[dict[str, Any]]:
    """Refuse all families but these, protocols that are modules, and queues that are nobody's memory.

    An argument is compared with all its 64 bits, of which the kernel then uses 32: what is above the last one
    has to be refused too, or a family could be hidden there.
    """
    last = max(allowed)
    others = [number for number in range(last) if number not in allowed]
    families = [_argument(0, "SCMP_CMP_GT", last), *(_argument(0, "SCMP_CMP_EQ", other) for other in others)]
    protocols = [
        _argument(2, "SCMP_CMP_GT", PROTOCOL_MAX),
        _argument(2, "SCMP_CMP_EQ", ICMP),
        _argument(1, "SCMP_CMP_MASKED_EQ", TYPE_MASK, SOCK_DCCP),
    ]
    if AF_NETLINK in allowed:  # whose protocols have numbers of their own
        protocols = []
    return [
        *(_refuse(["socket", "socketpair"], family, errno=EAFNOSUPPORT) for family in families),
        *(_refuse(["socket", "socketpair"], protocol, errno=EPROTONOSUPPORT) for protocol in protocols),
        # Granted in words only: libraries (resolvers, for one) give up where they are refused.
        *(
            _refuse(["setsockopt"], _int(1, level), _int(2, option), errno=NOTHING)
            for level, option in (*ERROR_QUEUES, (SOL_SOCKET, SO_RCVBUF))
        ),
    ]


def _refuse(names: Any, *args: dict[str, Any], errno: int = EPERM) -> dict[str, Any]:
    return {"names": list(names), "action": "SCMP_ACT_ERRNO", "errnoRet": errno, "args": list(args)}


def _int(index: int, value: int) -> dict[str, Any]:
    """An argument of which the kernel looks at 32 bits."""
    return _argument(index, "SCMP_CMP_MASKED_EQ", INT, value)


def _argument(index: int, op: str, value: int, value_two: int = 0) -> dict[str, Any]:
    return {"index": index, "value": value, "valueTwo": value_two, "op": op}
