// Package call is in every compiled script: it binds the job's arguments to a function of the
// script, calls it, and hands its result over.
//
// The other side is jobinit, process 1 of the container. By now ./args.json is in place and the
// environment is set; descriptor 3 takes exactly one JSON document.
package call

import (
	"fmt"
	"os"
	"sort"
	"strings"
	"syscall"
)

const (
	resultFD = 3
	override = "_ENTRYPOINT_OVERRIDE"
)

// Any is what a type parameter of the generated code may be; a script can give `any` another
// meaning.
type Any interface{}

// Taker gives the value of a named argument to a variable, which stays as it is without one.
type Taker func(name string, variable Any)

// Results are pointers to what the function returned.
type Results []Any

// Function is a function of the script. Run takes the arguments, calls it and gives its results.
type Function struct {
	Name string
	Run  func(Taker) Results
}

// What the script starts must not inherit the result channel. This package is initialised
// before the script.
func init() {
	syscall.CloseOnExec(resultFD)
	limitHeap()
}

// Main calls the script's main function, or the one that an argument names, and ends the process.
func Main(functions ...Function) {
	args, err := readArguments()
	if err != nil {
		refuse("bad_input", err.Error())
	}
	chosen := "main"
	if named := args.entryPoint(); named != "" {
		chosen = named
	}
	for _, function := range functions {
		if function.Name == chosen {
			handOver(function.Run(args.take))
		}
	}
	refuse("script_error", missing(chosen, functions))
}

func missing(chosen string, functions []Function) string {
	if len(functions) == 0 {
		return fmt.Sprintf("main.go has no func %s, nor any other function", chosen)
	}
	var names []string
	for _, function := range functions {
		names = append(names, function.Name)
	}
	sort.Strings(names)
	return fmt.Sprintf("main.go has no func %s that can be called; it has: %s", chosen, strings.Join(names, ", "))
}

// handOver writes the results, or the error among them, and ends the process.
func handOver(results Results) {
	value, failure, err := split(results)
	if err != nil {
		refuse("script_error", err.Error())
	}
	if failure != nil {
		fmt.Fprintln(os.Stderr, failure)
		os.Exit(1)
	}
	document, err := encode("result", value)
	if err != nil {
		refuse("result_not_json", "the result cannot be written as JSON: "+strings.TrimPrefix(err.Error(), "json: "))
	}
	send(document, 0)
}

// refuse ends the process with an error that is not the script's own.
func refuse(reason, message string) {
	fmt.Fprintln(os.Stderr, message)
	document, err := encode("error", map[string]string{"name": "ExecutionErr", "message": message, "reason": reason})
	if err != nil {
		panic(err)
	}
	send(document, 1)
}

func send(document []byte, status int) {
	channel := os.NewFile(resultFD, "result channel")
	if channel != nil {
		channel.Write(document)
	}
	os.Exit(status)
}
