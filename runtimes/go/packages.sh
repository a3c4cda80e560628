#!/bin/sh
# Compiles the standard library and the package of ours that every program has, and puts what
# scripts are compiled against and linked with into a folder: a file for each package, and
# `importcfg`, the list of them as compiler and linker read it.
set -eu
folder=$1

mkdir -p "$folder"
go list -export -deps -trimpath -gcflags=all=-dwarf=false \
    -f '{{if .Export}}{{.ImportPath}} {{.Export}}{{end}}' std ./call > "$folder/list"
while read -r package file; do
    mkdir -p "$(dirname "$folder/$package.a")"
    cp "$file" "$folder/$package.a"
    echo "packagefile $package=$folder/$package.a"
done < "$folder/list" > "$folder/importcfg"
rm "$folder/list"
