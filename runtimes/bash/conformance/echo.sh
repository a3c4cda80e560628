value="$1"
printf '%s' "$value" >result.json
