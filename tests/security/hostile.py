"""A script that tries whatever might change its network, and says what worked."""

from __future__ import annotations

HOSTILE = """
import ctypes, os, socket, struct, subprocess
from pathlib import Path

def attempt(name, act):
    try:
        act()
    except (OSError, subprocess.SubprocessError) as error:
        return
    done.append(name)

def write(path, text):
    Path(path).write_text(text)

def netlink(protocol, kind, flags, body):
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as s:
        s.settimeout(2)
        s.send(struct.pack("IHHII", 16 + len(body), kind, flags, 1, 0) + body)
        answer = s.recv(4096)
        code = struct.unpack("i", answer[16:20])[0]
        if struct.unpack("H", answer[4:6])[0] == 2 and code:
            raise OSError(-code, "refused")

def flush_rules():
    # NFNL_MSG_BATCH_BEGIN, NFT_MSG_DELTABLE of the table, NFNL_MSG_BATCH_END
    name = b"executor\\0"
    attribute = struct.pack("HH", 4 + len(name), 1) + name + b"\\0" * (-len(name) % 4)
    body = struct.pack("BBH", 1, 0, 0) + attribute
    begin = struct.pack("IHHII", 20, 0x10, 1, 0, 0) + struct.pack("BBH", 0, 0, socket.htons(10))
    end = struct.pack("IHHII", 20, 0x11, 1, 2, 0) + struct.pack("BBH", 0, 0, socket.htons(10))
    delete = struct.pack("IHHII", 16 + len(body), (10 << 8) | 2, 5, 1, 0) + body
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as s:
        s.settimeout(2)
        s.send(begin + delete + end)
        answer = s.recv(4096)
        code = struct.unpack("i", answer[16:20])[0]
        if code:
            raise OSError(-code, "refused")

def option(level, number, value):
    with socket.socket() as s:
        s.setsockopt(level, number, value)

def libc(name, *arguments):
    if ctypes.CDLL(None, use_errno=True)[name](*arguments):
        raise OSError(ctypes.get_errno(), name)

def main():
    global done
    done = []
    index = socket.if_nametoindex("eth0")
    attempt("packet socket", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3))
    attempt("raw socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW))
    attempt("delete the table", flush_rules)
    attempt("add an address", lambda: netlink(0, 20, 5 | 0x600, struct.pack("BBBBI", 2, 24, 0, 0, index)
            + struct.pack("HH4s", 8, 2, bytes([198, 18, 7, 7]))))
    attempt("take the link down", lambda: netlink(0, 16, 5, struct.pack("BxHiII", 0, 0, index, 0, 1)))
    attempt("mark packets", lambda: option(socket.SOL_SOCKET, 36, 1))
    attempt("be transparent", lambda: option(socket.SOL_IP, 19, 1))
    attempt("user namespace", lambda: libc("unshare", 0x10000000 | 0x40000000))
    attempt("network namespace", lambda: libc("unshare", 0x40000000))
    attempt("forward", lambda: write("/proc/sys/net/ipv4/ip_forward", "1"))
    attempt("resolv.conf", lambda: write("/etc/resolv.conf", "nameserver 8.8.8.8"))
    attempt("hosts", lambda: write("/etc/hosts", ""))
    attempt("nft", lambda: subprocess.run(["nft", "flush", "ruleset"], check=True, capture_output=True))
    capabilities = [line for line in Path("/proc/self/status").read_text().splitlines() if line[:3] == "Cap"]
    others = [p.name for p in Path("/proc").iterdir() if p.name.isdecimal() and b"hold" in (p / "cmdline").read_bytes()]
    return {"done": done, "capabilities": capabilities, "others": others}
"""
