name="$1"
numbers="$2"
echo "hello $name, this is Bash $BASH_VERSION"
first=$(jq '.[0]' <<< "$numbers")
echo "{\"first\": $first, \"user\": $(id -u)}" > result.json
