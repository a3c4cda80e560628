package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"regexp"
	"strconv"
	"strings"
)

const noDependencies = "Installing dependencies is not available in this version; " +
	"a script can import the standard library"

var pinned = regexp.MustCompile(`(?m)^//require[ \t]+(\S.*?)[ \t]*\r?$`)

// script is what has to be known of a script to compile it.
type script struct {
	text  []byte
	file  *ast.File
	files *token.FileSet
}

func parse(text []byte) (script, error) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, source, text, parser.SkipObjectResolution)
	return script{text, file, files}, err
}

func (s script) at(node ast.Node) token.Position { return s.files.Position(node.Pos()) }

// check says what the compiler would not say, or not well.
func (s script) check(with toolchain) error {
	if name := s.file.Name; name.Name != "inner" {
		return fmt.Errorf("%v: the package must be called inner, not %s", s.at(name), name.Name)
	}
	if required := pinned.FindSubmatch(s.text); required != nil {
		return refusal{"dependency_error", fmt.Sprintf("//require %s: %s", required[1], noDependencies)}
	}
	for _, spec := range s.file.Imports {
		if err := s.checkImport(spec, with); err != nil {
			return err
		}
	}
	return nil
}

func (s script) checkImport(spec *ast.ImportSpec, with toolchain) error {
	imported, err := strconv.Unquote(spec.Path.Value)
	switch {
	case err != nil || imported == "":
		return nil // the compiler says it
	case imported == "C":
		return fmt.Errorf("%v: import \"C\": there is no cgo here, neither C libraries nor their compiler", s.at(spec))
	case imported == "embed":
		return fmt.Errorf("%v: import \"embed\": a script is one file and has nothing to embed", s.at(spec))
	case isInternal(imported):
		return fmt.Errorf("%v: use of internal package %s not allowed", s.at(spec), imported)
	case !with.has(imported):
		message := fmt.Sprintf("%v: package %s is not in the standard library. %s", s.at(spec), imported, noDependencies)
		return refusal{"dependency_error", message}
	}
	return nil
}

func isInternal(imported string) bool {
	return strings.Contains("/"+imported+"/", "/internal/") && !strings.Contains(imported, ".")
}

// function is a function that can be called from outside: one without receiver and type parameters.
type function struct {
	name       string
	parameters []string // "" for one without a name
	isVariadic bool
	results    int
}

// functions gives them in their order.
func (s script) functions() (found []function) {
	for _, declared := range s.file.Decls {
		declared, is := declared.(*ast.FuncDecl)
		if !is || declared.Recv != nil || declared.Type.TypeParams != nil {
			continue
		}
		if name := declared.Name.Name; name == "init" || name == "_" {
			continue
		}
		found = append(found, describe(declared))
	}
	return found
}

func describe(declared *ast.FuncDecl) function {
	described := function{name: declared.Name.Name, results: declared.Type.Results.NumFields()}
	for _, field := range declared.Type.Params.List {
		_, described.isVariadic = field.Type.(*ast.Ellipsis)
		if len(field.Names) == 0 {
			described.parameters = append(described.parameters, "")
		}
		for _, name := range field.Names {
			if name.Name == "_" {
				name.Name = ""
			}
			described.parameters = append(described.parameters, name.Name)
		}
	}
	return described
}

// unused gives an identifier that the script does not contain.
func (s script) unused(name string) string {
	for strings.Contains(string(s.text), name) {
		name += "_"
	}
	return name
}

// isClean tells whether a path names a package and no file in another place.
func isClean(imported string) bool {
	return path.Clean(imported) == imported && !strings.HasPrefix(imported, "/") && !strings.HasPrefix(imported, ".")
}
