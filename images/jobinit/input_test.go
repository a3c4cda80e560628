package main

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
)

// The job frame gives defaults for what it leaves out, and its args stay as they are.
func TestParseJob(t *testing.T) {
	frame, known := parseFrame([]byte(`{"type":"job","script":"s","args": {"n": 1.50},"limits":{"timeout_s":0.5}}`))
	if !known || frame.job == nil {
		t.Fatalf("%+v", frame)
	}
	want := limits{TimeoutS: 0.5, LogBytes: 1 << 20, ResultBytes: 8 << 20}
	if j := frame.job; *j.Script != "s" || string(j.Args) != `{"n": 1.50}` || j.Limits != want || j.Attached {
		t.Errorf("%+v", j)
	}
	for _, text := range []string{`{"type":"job","script":""}`, `{"type":"job","script":"","args":null}`} {
		if frame, _ := parseFrame([]byte(text)); frame.job == nil || string(frame.job.Args) != "{}" {
			t.Errorf("%s: %+v", text, frame)
		}
	}
}

// Wrong lines are told from frames that are only unknown.
func TestParseFrameRefuses(t *testing.T) {
	wrong := []string{
		`no JSON`, `[]`, `{"type":"job"}`, `{"type":"job","script":1}`, `{"type":"job","script":"","args":[1]}`,
		`{"type":"job","script":"","env":{"A=B":"c"}}`, `{"type":"job","script":"","env":{"":"c"}}`,
		`{"type":"job","script":"","env":{"A":"\u0000"}}`, `{"type":"job","script":"","limits":{"log_bytes":0}}`,
		`{"type":"job","script":"","limits":{"timeout_s":-1}}`, `{"type":"job","script":"","limits":{"result_bytes":1.5}}`,
		`{"type":"job","script":"","args_file":"../x"}`, `{"type":"job","script":"","args_file":".."}`,
		`{"type":"signal","signal":"SIGSEGV"}`,
	}
	for _, text := range wrong {
		if frame, known := parseFrame([]byte(text)); !known || frame.wrong == nil {
			t.Errorf("%s: %+v", text, frame)
		}
	}
	if _, known := parseFrame([]byte(`{"type":"reply","value":1}`)); known {
		t.Error("an unknown type must be passed over")
	}
	if frame, _ := parseFrame([]byte(`{"type":"signal","signal":"SIGINT"}`)); frame.signal != syscall.SIGINT {
		t.Errorf("%+v", frame)
	}
}

// A last line without a line break counts; blank lines and the end itself do not.
func TestReadInput(t *testing.T) {
	inputs := make(chan input, 10)
	long := strings.Repeat("x", 100000)
	readInput(strings.NewReader("\n{\"type\":\"later\"}\n \n{\"type\":\"job\",\"script\":\""+long+"\"}"), inputs)
	if first := <-inputs; first.job == nil || *first.job.Script != long {
		t.Error("the job did not arrive")
	}
	if second := <-inputs; !second.ended || len(inputs) > 0 {
		t.Errorf("%+v, and %d more", second, len(inputs))
	}
}

// A huge timeout must not become a negative one.
func TestTimeoutIsBounded(t *testing.T) {
	if wait := (limits{TimeoutS: 1e300}).timeout(); wait < 1e18 {
		t.Error(wait)
	}
}

// The runner reads the environment as records that end with NUL.
func TestEnvironmentRecords(t *testing.T) {
	got := environmentRecords(map[string]string{"B": "x=y\n", "A": ""})
	if string(got) != "A=\x00B=x=y\n\x00" {
		t.Errorf("%q", got)
	}
}

// The command line is a manifest's, so what is wrong in it is said.
func TestParseOptions(t *testing.T) {
	got, err := parseOptions(strings.Fields("--source main.py --result output --merge-stderr -- python3 -I --source x"))
	want := options{source: "main.py", fromOutput: true, mergeStderr: true, root: "/",
		runner: strings.Fields("python3 -I --source x")}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v %v", got, err)
	}
	got, err = parseOptions(strings.Fields("--source a --result stdout --stdin args --dir /x -- ./prog -- y"))
	want = options{source: "a", fromStdout: true, argsOnStdin: true, dir: "/x", root: "/", runner: strings.Fields("./prog -- y")}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v %v", got, err)
	}
	for _, line := range []string{
		"--source a --result stdout -- sh", "--source a --stdin args -- sh", "--source a --dir x -- sh",
		"--source a --result stdout --stdin job -- sh",
		"", "-- sh", "--source main.py", "--source main.py --", "--source a/b -- sh", "--source -- sh",
		"--source a --result file -- sh", "--source a --color red -- sh", "--source a sh",
	} {
		if _, err := parseOptions(strings.Fields(line)); err == nil {
			t.Errorf("%q was accepted", line)
		}
	}
}

// A runner is told its heap's size as three quarters of the memory limit.
func TestWithHeapSize(t *testing.T) {
	got := withHeapSize([]string{"deno", "--v8-flags=--max-old-space-size={heap_mb}"}, 256<<20)
	if got[1] != "--v8-flags=--max-old-space-size=192" {
		t.Error(got)
	}
}

// Strings come raw, other values as compact JSON, each with a NUL behind it.
func TestPrintArgs(t *testing.T) {
	t.Chdir(t.TempDir())
	content := `{"s": "a\n\"ü\u20ac", "n": 1.50, "big": 12345678901234567890, "o": {"a": [1, 2], "s": "x y"},
		"t": true, "z": null, "e": "", "html": {"a": "<&>"}, "esc": ["\u0000"], "nul": "a\u0000b"}`
	os.WriteFile("args.json", []byte(content), 0o600)
	var out, complaints bytes.Buffer
	status := printArgs([]string{"s", "n", "big", "o", "t", "z", "e", "html", "esc", "none"}, &out, &complaints)
	want := "a\n\"ü€|1.50|12345678901234567890|{\"a\":[1,2],\"s\":\"x y\"}|true|null||{\"a\":\"<&>\"}|[\"\\u0000\"]||"
	if status != 0 || strings.ReplaceAll(out.String(), "\x00", "|") != want {
		t.Errorf("%d %q %s", status, out.String(), complaints.String())
	}
	out.Reset()
	if status := printArgs([]string{"s", "nul"}, &out, &complaints); status != 65 || out.Len() > 0 {
		t.Errorf("status %d, printed %q", status, out.String())
	}
	if !strings.Contains(complaints.String(), `"nul"`) {
		t.Errorf("the message does not name the argument: %s", complaints.String())
	}
	os.WriteFile("args.json", []byte("[1]"), 0o600)
	if status := printArgs(nil, &out, &complaints); status != 66 {
		t.Errorf("status %d", status)
	}
	os.Remove("args.json")
	if status := printArgs(nil, &out, &complaints); status != 66 {
		t.Errorf("status %d", status)
	}
}

// The container's own group is found under both versions of the interface.
func TestCgroupReadings(t *testing.T) {
	trees := map[string]map[string]string{
		"version 1, own group mounted as the root": {
			"proc/self/cgroup":                               "4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n0::/docker/abc\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes":     "1000\n",
			"sys/fs/cgroup/memory/memory.max_usage_in_bytes": "700\n",
			"sys/fs/cgroup/memory/memory.oom_control":        "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
			"sys/fs/cgroup/cpu,cpuacct/cpuacct.usage":        "5000000\n",
		},
		"version 1, own group below the root": {
			"proc/self/cgroup":                                   "4:memory:/own\n2:cpuacct:/own\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes":         "9223372036854771712\n",
			"sys/fs/cgroup/memory/own/memory.limit_in_bytes":     "1000\n",
			"sys/fs/cgroup/memory/own/memory.max_usage_in_bytes": "700\n",
			"sys/fs/cgroup/memory/own/memory.oom_control":        "oom_kill 2\n",
			"sys/fs/cgroup/cpuacct/own/cpuacct.usage":            "5000000\n",
		},
		"version 2": {
			"proc/self/cgroup":            "0::/\n",
			"sys/fs/cgroup/memory.max":    "1000\n",
			"sys/fs/cgroup/memory.peak":   "700\n",
			"sys/fs/cgroup/memory.events": "low 0\noom 3\noom_kill 2\n",
			"sys/fs/cgroup/cpu.stat":      "usage_usec 5000\nuser_usec 1\n",
		},
	}
	for name, tree := range trees {
		tree["proc/meminfo"] = "MemTotal:  2 kB\nMemFree: 1 kB\n"
		c := openCgroup(writeTree(t, tree))
		got := []int64{c.memoryLimitBytes(), c.memoryPeakBytes(), c.oomKills(), c.cpuMicros()}
		if !reflect.DeepEqual(got, []int64{1000, 700, 2, 5000}) {
			t.Errorf("%s: %v", name, got)
		}
	}
	for _, limit := range []string{"max", "9223372036854771712"} {
		c := openCgroup(writeTree(t, map[string]string{
			"sys/fs/cgroup/memory.max": limit, "proc/meminfo": "MemTotal:  2 kB\n"}))
		if c.memoryLimitBytes() != 2048 || c.memoryPeakBytes() != -1 || c.oomKills() != -1 || c.cpuMicros() != -1 {
			t.Errorf("limit %s: %d", limit, c.memoryLimitBytes())
		}
	}
}

func writeTree(t *testing.T, tree map[string]string) string {
	root := t.TempDir()
	for path, content := range tree {
		os.MkdirAll(filepath.Join(root, filepath.Dir(path)), 0o700)
		os.WriteFile(filepath.Join(root, path), []byte(content), 0o600)
	}
	return root
}
