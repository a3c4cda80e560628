echo first
printf '  {"a": [1, 2]}  \n\n' >&2
