package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"syscall"
)

const (
	resultFD = 3
	jobFD    = 4

	copyName = "./.program"

	exitNotExecutable = 126 // as shells have it
	exitNoProgram     = 127
)

// execProgram is the runner of languages that compile: it boots, takes the environment, and
// becomes the program, which may not be known before there is a job.
func execProgram(program string, complaints io.Writer) (status int) {
	runtime.GOMAXPROCS(1) // its threads count as the script's
	if _, err := syscall.Write(resultFD, []byte("\n")); err != nil {
		fmt.Fprintf(complaints, "cannot say that the runner has booted: %v\n", err)
		return 1
	}
	job := os.NewFile(jobFD, "job channel")
	records, err := io.ReadAll(job)
	if err != nil {
		fmt.Fprintf(complaints, "cannot read the environment: %v\n", err)
		return 1
	}
	job.Close()
	err = become(program, mergedEnvironment(os.Environ(), records))
	fmt.Fprintf(complaints, "cannot run %s: %v\n", program, err)
	if errors.Is(err, syscall.ENOENT) {
		return exitNoProgram
	}
	return exitNotExecutable
}

// become runs the program in this process, whose result channel it inherits. Where the host
// keeps programs on a file system that allows no execution, a copy in the job's own directory
// runs, which that directory's limit of bytes bounds.
func become(program string, environment []string) error {
	err := syscall.Exec(program, []string{program}, environment)
	if !errors.Is(err, syscall.EACCES) {
		return err
	}
	content, failed := os.ReadFile(program)
	if failed != nil {
		return err
	}
	if failed := os.WriteFile(copyName, content, 0o500); failed != nil {
		return errors.Join(err, failed)
	}
	return syscall.Exec(copyName, []string{program}, environment)
}

// mergedEnvironment is `own` with the job's records on top: of two variables of one name the
// job's counts.
func mergedEnvironment(own []string, records []byte) []string {
	var merged []string
	given := map[string]bool{}
	for _, record := range bytes.Split(records, []byte{0}) {
		if name, _, found := strings.Cut(string(record), "="); found && name != "" {
			merged = append(merged, string(record))
			given[name] = true
		}
	}
	for _, variable := range own {
		if name, _, _ := strings.Cut(variable, "="); !given[name] {
			merged = append(merged, variable)
		}
	}
	return merged
}
