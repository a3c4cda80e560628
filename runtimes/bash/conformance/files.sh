cp args.json copy.json
jq .value copy.json >result.json
