"""The system calls that no container may make, on either engine: one seccomp profile. Pure.

It refuses what Docker's default profile refuses, by name instead of by omission, which makes it a
tenth as long: a long one costs each container some milliseconds. Docker reads the same JSON as an OCI runtime. Calls that the kernel refuses
without capabilities anyway are in it too, so that mistakes in their code cannot be reached. Beyond
Docker's: other processes' memory, io_uring, and sockets that no network namespace confines.
jobinit filters again.
"""

from __future__ import annotations

import json
import platform
from functools import cache
from typing import Any

EPERM, ENOSYS = 1, 38
CLONE_NEW = (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)
"""clone's flags for namespaces: mnt, cgroup, uts, ipc, user, pid, net."""
AF_ALG, AF_VSOCK = 38, 40
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


@cache
def text() -> str | None:
    """The profile as JSON, as Docker takes it; None as for `profile`."""
    known = profile()
    return None if known is None else json.dumps(known)


def profile() -> dict[str, Any] | None:
    """The profile in OCI's words; None for a machine whose architecture it does not know."""
    architecture = ARCHITECTURES.get(platform.machine())
    if architecture is None:
        return None
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": [architecture],
        "syscalls": [
            _refuse(REFUSED),
            *(_refuse(["clone"], _argument(0, "SCMP_CMP_MASKED_EQ", flag, flag)) for flag in CLONE_NEW),
            # Its flags lie in memory, where a filter cannot look; libraries then use clone.
            _refuse(["clone3"], errno=ENOSYS),
            _refuse(["personality"], _argument(0, "SCMP_CMP_NE", ASKS_ONLY)),
            _refuse(["socket"], _argument(0, "SCMP_CMP_EQ", AF_VSOCK)),
            _refuse(["socket"], _argument(0, "SCMP_CMP_EQ", AF_ALG)),
        ],
    }


def _refuse(names: Any, *args: dict[str, Any], errno: int = EPERM) -> dict[str, Any]:
    return {"names": list(names), "action": "SCMP_ACT_ERRNO", "errnoRet": errno, "args": list(args)}


def _argument(index: int, op: str, value: int, value_two: int = 0) -> dict[str, Any]:
    return {"index": index, "value": value, "valueTwo": value_two, "op": op}
