// It uses one processor, whatever the container may (see settleRuntime): looking that up costs a
// quarter of a millisecond.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command jobinit is process 1 of every job's container.
//
// It starts the language runner at once, waits for one job on its standard
// input, and tells on its standard output, one JSON object a line, what the job
// logged, what it gave and how it ended. It knows no language, no HTTP and no
// container engine. What a script does can neither end it nor write its frames.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const usageText = `usage: jobinit [--root DIR] --source FILE [--result channel|output|stdout] [--merge-stderr]
               [--stdin args [--dir DIR]] -- RUNNER [ARGUMENT...]
       jobinit args NAME...
       jobinit exec PROGRAM`

// options are the command line, which comes from a language's manifest.
type options struct {
	source      string   // the name under which the script is written
	fromOutput  bool     // the result is taken from files or the log, not from the channel
	fromStdout  bool     // standard output is the result, and no log
	mergeStderr bool     // one pipe for both
	argsOnStdin bool     // the runner is the job's own program: it starts with the job and reads its arguments
	dir         string   // where such a program starts; the job directory if empty
	root        string   // what stands in for "/", to try jobinit without a container
	runner      []string // the command that boots, reads the environment and runs the script
}

func (o options) jobDir() string    { return filepath.Join(o.root, "job") }
func (o options) sharedDir() string { return filepath.Join(o.root, "shared") }
func (o options) inDir() string     { return filepath.Join(o.root, "executor", "in") }

func main() {
	if len(os.Args) > 1 && os.Args[1] == "args" {
		os.Exit(printArgs(os.Args[2:], os.Stdout, os.Stderr))
	}
	if len(os.Args) == 3 && os.Args[1] == "exec" {
		os.Exit(execProgram(os.Args[2], os.Stderr))
	}
	chosen, err := parseOptions(os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "jobinit: %v\n%s\n", err, usageText)
		os.Exit(2)
	}
	score := openOOMScore()
	shieldProcess()
	os.Exit(newSupervisor(chosen, os.Stdin, os.Stdout).run(score))
}

// parseOptions reads the flags up to "--", and the runner's command after it.
func parseOptions(line []string) (options, error) {
	chosen := options{root: "/"}
	for len(line) > 0 && line[0] != "--" {
		flag := line[0]
		line = line[1:]
		if flag == "--merge-stderr" {
			chosen.mergeStderr = true
			continue
		}
		if len(line) == 0 || line[0] == "--" {
			return chosen, fmt.Errorf("%s: unknown, or its value is missing", flag)
		}
		if err := chosen.set(flag, line[0]); err != nil {
			return chosen, err
		}
		line = line[1:]
	}
	if len(line) < 2 {
		return chosen, fmt.Errorf("the runner's command is missing after --")
	}
	if chosen.source == "" {
		return chosen, fmt.Errorf("--source is missing")
	}
	if chosen.argsOnStdin != chosen.fromStdout {
		return chosen, fmt.Errorf("--stdin args and --result stdout need each other: they are how a plain program is run")
	}
	chosen.runner = line[1:]
	return chosen, nil
}

func (o *options) set(flag, value string) error {
	switch flag {
	case "--source":
		if value == "" || value == "." || value == ".." || strings.ContainsRune(value, '/') {
			return fmt.Errorf("--source %q: must be a plain file name", value)
		}
		o.source = value
	case "--result":
		if value != "channel" && value != "output" && value != "stdout" {
			return fmt.Errorf("--result %q: must be channel, output or stdout", value)
		}
		o.fromOutput, o.fromStdout = value == "output", value == "stdout"
	case "--stdin":
		if value != "args" {
			return fmt.Errorf("--stdin %q: must be args", value)
		}
		o.argsOnStdin = true
	case "--dir":
		if !filepath.IsAbs(value) {
			return fmt.Errorf("--dir %q: must be an absolute path", value)
		}
		o.dir = value
	case "--root":
		o.root = value
	default:
		return fmt.Errorf("%s: unknown", flag)
	}
	return nil
}
