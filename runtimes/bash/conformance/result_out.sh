echo "not this"
: >result.json
printf ' two\nlines \n' >result.out
