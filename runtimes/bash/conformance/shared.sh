before=$(find ./shared/ -mindepth 1 -printf '%f\n' | sort | jq -R . | jq -sc .)
printf written >./shared/note
jq -n --argjson before "$before" --arg after "$(cat /shared/note)" '{$before, $after}' >result.json
