jq -n '{job: env.WM_JOB_ID, greeting: env.GREETING, empty: env.EMPTY,
    foreign: (env | keys | map(select(startswith("EXECUTOR"))))}' >result.json
