package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// toolchain is where compiler, linker and the compiled standard library are, and where to work.
type toolchain struct {
	tools    string // holds compile and link
	packages string // holds NAME.a for each package, and the list `importcfg` of them
	work     string
}

var installed = toolchain{tools: "/usr/local/go/tool", packages: "/usr/local/go/packages", work: "/tmp/build"}

// compileFlags: paths as the script's author knows them, no debugging information, and every
// function must have a body.
var compileFlags = []string{"-complete", "-dwarf=false", "-pack"}

// linkFlags: neither symbols nor debugging information, which traces do not need.
var linkFlags = []string{"-s", "-w", "-buildmode=exe"}

func (t toolchain) prepare() error { return os.MkdirAll(t.work, 0o700) }

// has tells whether scripts can import the package.
func (t toolchain) has(imported string) bool {
	if imported == "unsafe" {
		return true // it is the compiler's own
	}
	if !isClean(imported) || strings.HasPrefix(imported, "vendor/") || strings.HasPrefix(imported, "executor/") {
		return false
	}
	_, err := os.Stat(filepath.Join(t.packages, imported+".a"))
	return err == nil
}

// explain has the compiler say what is wrong with a script that cannot be parsed: it says it in
// the words that its users know.
func (t toolchain) explain(why error) error {
	if err := t.compile("inner", "inner.a", t.file("importcfg"), source); err != nil {
		return err
	}
	return why
}

// make compiles the script and its entry, links them, and gives the program's path.
func (t toolchain) make(s script) (program string, err error) {
	code := generate(s)
	beside, entry, imports := t.path("executor.go"), t.path("start.go"), t.path("importcfg")
	if err := t.list(imports); err != nil {
		return "", err
	}
	for path, text := range map[string]string{beside: code.beside, entry: code.program} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	if err := t.compile("inner", "inner.a", imports, source, beside); err != nil {
		return "", err
	}
	if err := t.compile("main", "main.a", imports, entry); err != nil {
		return "", err
	}
	program = t.path("program")
	arguments := append([]string{"-importcfg", imports, "-o", program}, linkFlags...)
	return program, t.run("link", append(arguments, t.path("main.a"))...)
}

// list writes where all packages are, the script's own included.
func (t toolchain) list(path string) error {
	known, err := os.ReadFile(t.file("importcfg"))
	if err != nil {
		return err
	}
	return os.WriteFile(path, fmt.Appendf(known, "packagefile inner=%s\n", t.path("inner.a")), 0o600)
}

func (t toolchain) compile(name, archive, imports string, files ...string) error {
	here, err := os.Getwd()
	if err != nil {
		return err
	}
	arguments := append([]string{
		"-p", name, "-o", t.path(archive), "-importcfg", imports, "-trimpath", here + "=>;" + t.work + "=>",
	}, compileFlags...)
	return t.run("compile", append(arguments, files...)...)
}

var errFailed = errors.New("compilation failed")

// run gives errFailed when the tool has said itself what is wrong.
func (t toolchain) run(tool string, arguments ...string) error {
	command := exec.Command(filepath.Join(t.tools, tool), arguments...)
	command.Stdout, command.Stderr = os.Stderr, os.Stderr
	err := command.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return errFailed
	}
	if err != nil {
		return fmt.Errorf("%s: %w", tool, err)
	}
	return nil
}

func (t toolchain) path(name string) string { return filepath.Join(t.work, name) }
func (t toolchain) file(name string) string { return filepath.Join(t.packages, name) }
