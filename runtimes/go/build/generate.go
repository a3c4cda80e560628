package main

import (
	"fmt"
	"strings"
)

// generated is the code that stands beside a script: `beside` in its package, where its functions
// can be named, and `program`, which starts it.
type generated struct{ beside, program string }

// generate writes it such that nothing in it depends on what the script calls its own things:
// parameter types are inferred, and every name is either local or does not occur in the script.
func generate(s script) generated {
	call, take, start := s.unused("executor_call"), s.unused("executor_take"), s.unused("Executor_start")
	functions := s.functions()
	var out strings.Builder
	fmt.Fprintf(&out, "package inner\n\nimport %s \"executor/call\"\n\nfunc %s() {\n\t%s.Main(\n", call, start, call)
	for i, f := range functions {
		fmt.Fprintf(&out, "\t\t%s.Function{Name: %q, Run: func(%s %s.Taker) %s.Results { return %s(%s, %s) }},\n",
			call, f.name, take, call, call, s.binding(i), f.name, take)
	}
	out.WriteString("\t)\n}\n")
	for i, f := range functions {
		out.WriteString(f.bound(s.binding(i), call))
	}
	return generated{
		beside:  out.String(),
		program: fmt.Sprintf("package main\n\nimport \"inner\"\n\nfunc main() { inner.%s() }\n", start),
	}
}

func (s script) binding(number int) string {
	return fmt.Sprintf("%s%d", s.unused("executor_bind"), number)
}

// bound is a function that takes f's arguments, calls it and gives pointers to its results.
func (f function) bound(name, call string) string {
	types, values, declarations := f.parts()
	var results []string
	for i := range f.results {
		types = append(types, fmt.Sprintf("R%d", i))
		results = append(results, fmt.Sprintf("r%d", i))
	}
	var out strings.Builder
	fmt.Fprintf(&out, "\nfunc %s", name)
	if len(types) > 0 {
		fmt.Fprintf(&out, "[%s %s.Any]", strings.Join(types, ", "), call)
	}
	fmt.Fprintf(&out, "(call func(%s)", strings.Join(f.parameterTypes(), ", "))
	if f.results > 0 {
		fmt.Fprintf(&out, " (%s)", strings.Join(types[len(types)-f.results:], ", "))
	}
	fmt.Fprintf(&out, ", take %s.Taker) %s.Results {\n%s\t", call, call, declarations)
	if f.results > 0 {
		fmt.Fprintf(&out, "%s := ", strings.Join(results, ", "))
	}
	fmt.Fprintf(&out, "call(%s)\n\treturn %s.Results{", strings.Join(values, ", "), call)
	for _, result := range results {
		fmt.Fprintf(&out, "&%s, ", result)
	}
	out.WriteString("}\n}\n")
	return out.String()
}

// parts are the type parameters of f's parameters, the values to call it with, and the lines that
// declare and fill these.
func (f function) parts() (types, values []string, declarations string) {
	var lines strings.Builder
	for i, parameter := range f.parameters {
		kind, value := fmt.Sprintf("P%d", i), fmt.Sprintf("p%d", i)
		types = append(types, kind)
		if f.isLast(i) && f.isVariadic {
			kind = "[]" + kind
			values = append(values, value+"...")
		} else {
			values = append(values, value)
		}
		fmt.Fprintf(&lines, "\tvar %s %s\n", value, kind)
		if parameter != "" {
			fmt.Fprintf(&lines, "\ttake(%q, &%s)\n", parameter, value)
		}
	}
	return types, values, lines.String()
}

func (f function) parameterTypes() (types []string) {
	for i := range f.parameters {
		kind := fmt.Sprintf("P%d", i)
		if f.isLast(i) && f.isVariadic {
			kind = "..." + kind
		}
		types = append(types, kind)
	}
	return types
}

func (f function) isLast(i int) bool { return i == len(f.parameters)-1 }
