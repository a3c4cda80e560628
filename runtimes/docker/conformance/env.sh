# image: {image:bash}
foreign=$(env -0 | tr '\n' ' ' | tr '\0' '\n' | sed -n 's/^\(EXECUTOR[^=]*\)=.*/\1/p' | sort | jq -Rsc 'split("\n")[:-1]')
jq -nc --arg job "$WM_JOB_ID" --arg greeting "$GREETING" --arg empty "${EMPTY-unset}" --argjson foreign "$foreign" \
    '{$job, $greeting, $empty, $foreign}'
