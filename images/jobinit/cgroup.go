package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// cgroup reads what the container may use and has used, under version 1 or 2 of the
// kernel's interface. A reading that cannot be had is -1.
type cgroup struct {
	root   string   // "/", or a test's tree
	groups []string // the lines that say which group this process is in
}

func openCgroup(root string) cgroup {
	c := cgroup{root: root}
	c.groups = strings.Split(c.text("proc/self/cgroup"), "\n")
	return c
}

// cpuMicros is the processor time used since the container began.
func (c cgroup) cpuMicros() int64 {
	if nanos := c.number("cpuacct", "cpuacct.usage"); nanos >= 0 {
		return nanos / 1000
	}
	return c.field("", "cpu.stat", "usage_usec")
}

// memoryPeakBytes is the most memory that was in use at once.
func (c cgroup) memoryPeakBytes() int64 {
	if peak := c.number("memory", "memory.max_usage_in_bytes"); peak >= 0 {
		return peak
	}
	return c.number("", "memory.peak")
}

// oomKills counts processes that the kernel ended for want of memory.
func (c cgroup) oomKills() int64 {
	if kills := c.field("memory", "memory.oom_control", "oom_kill"); kills >= 0 {
		return kills
	}
	return c.field("", "memory.events", "oom_kill")
}

// memoryLimitBytes is what the container may use; without a limit, what the machine has.
func (c cgroup) memoryLimitBytes() int64 {
	machine := int64(-1)
	for _, line := range strings.Split(c.text("proc/meminfo"), "\n") {
		if words := strings.Fields(line); len(words) > 1 && words[0] == "MemTotal:" {
			machine = parseNumber(words[1]) << 10
		}
	}
	limit := c.number("memory", "memory.limit_in_bytes")
	if limit < 0 {
		limit = c.number("", "memory.max") // the word "max" is no number
	}
	if limit < 0 || machine >= 0 && machine < limit {
		return machine
	}
	return limit
}

// number is the content of a file that holds one number.
func (c cgroup) number(controller, file string) int64 {
	for _, dir := range c.dirs(controller) {
		if value := parseNumber(c.text(filepath.Join(dir, file))); value >= 0 {
			return value
		}
	}
	return -1
}

// field is the number behind a word in a file of such lines.
func (c cgroup) field(controller, file, word string) int64 {
	for _, dir := range c.dirs(controller) {
		for _, line := range strings.Split(c.text(filepath.Join(dir, file)), "\n") {
			if words := strings.Fields(line); len(words) == 2 && words[0] == word {
				return parseNumber(words[1])
			}
		}
	}
	return -1
}

// dirs are the folders in which the own group of a version 1 controller may be found,
// likeliest first; without a controller those of version 2. A container usually sees
// only its own group, mounted as if it were the root, while /proc names the group as
// the host knows it.
func (c cgroup) dirs(controller string) []string {
	var dirs []string
	for _, line := range c.groups {
		part := strings.SplitN(line, ":", 3)
		if len(part) < 3 {
			continue
		}
		for _, name := range strings.Split(part[1], ",") {
			if name != controller {
				continue
			}
			for _, mount := range []string{controller, part[1], "unified"} {
				dirs = append(dirs, filepath.Join("sys/fs/cgroup", mount, part[2]))
			}
		}
	}
	return append(dirs, filepath.Join("sys/fs/cgroup", controller), "sys/fs/cgroup/cpu,cpuacct")
}

func (c cgroup) text(path string) string {
	content, _ := os.ReadFile(filepath.Join(c.root, path))
	return string(content)
}

func parseNumber(text string) int64 {
	value, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil {
		return -1
	}
	return value
}
