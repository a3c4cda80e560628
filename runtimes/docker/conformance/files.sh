# image: {image:bash}
cp args.json copy.json
jq -c .value copy.json
