text="$1"
printf '%s' "$text" >result.out
