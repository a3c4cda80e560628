text="$1"
printf '%s\n' "$text"
printf '%s' "$text" >result.out
