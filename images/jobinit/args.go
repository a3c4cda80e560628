package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
)

const (
	exitBadArgument = 65 // an argument that a shell cannot hold
	exitNoArguments = 66 // ./args.json is missing or no object
)

// printArgs writes the values of the named arguments in ./args.json, each followed by
// NUL, which is how a shell can read any text: strings raw, other values as compact
// JSON, nothing for a missing one.
func printArgs(names []string, out, complaints io.Writer) (status int) {
	runtime.GOMAXPROCS(1) // its threads count as the script's
	content, err := os.ReadFile("args.json")
	if err != nil {
		fmt.Fprintf(complaints, "cannot read the arguments: %v\n", err)
		return exitNoArguments
	}
	var args map[string]json.RawMessage
	if err := json.Unmarshal(content, &args); err != nil {
		fmt.Fprintf(complaints, "args.json holds no object: %v\n", err)
		return exitNoArguments
	}
	var text bytes.Buffer
	for _, name := range names {
		if err := appendArg(&text, args[name]); err != nil {
			fmt.Fprintf(complaints, "argument %q %v\n", name, err)
			return exitBadArgument
		}
		text.WriteByte(0)
	}
	if _, err := out.Write(text.Bytes()); err != nil {
		fmt.Fprintf(complaints, "cannot hand over the arguments: %v\n", err)
		return 1
	}
	return 0
}

func appendArg(text *bytes.Buffer, value json.RawMessage) error {
	if len(value) == 0 || value[0] != '"' {
		if len(value) == 0 {
			return nil
		}
		return json.Compact(text, value)
	}
	var decoded string
	if err := json.Unmarshal(value, &decoded); err != nil {
		return err
	}
	if bytes.IndexByte([]byte(decoded), 0) >= 0 {
		return fmt.Errorf("holds a NUL character, which no shell variable can hold")
	}
	text.WriteString(decoded)
	return nil
}
