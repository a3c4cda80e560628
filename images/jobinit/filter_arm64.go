package main

const nativeArch = 0xc00000b7 // AUDIT_ARCH_AARCH64

var refusedCalls = []uint32{
	217, 218, 219, // add_key, request_key, keyctl: keyrings are not namespaced
	241,           // perf_event_open
	280,           // bpf
	282,           // userfaultfd
}
