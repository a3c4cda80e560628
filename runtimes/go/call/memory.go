package call

import (
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

// limitHeap makes the garbage collector work harder before the container's memory is full, not
// when it is too late: otherwise a heap may grow to twice of what it holds.
func limitHeap() {
	if debug.SetMemoryLimit(-1) != math.MaxInt64 {
		return // the script's environment says something else
	}
	for _, file := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && limit > 0 {
			debug.SetMemoryLimit(limit / 10 * 9) // the rest is for what else runs and lies in the container
		}
		return
	}
}
