# sandbox {image:bash}
value="$1"
type deno >&2 || echo "$value in $(pwd)"
