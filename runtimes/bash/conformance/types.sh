text="$1"
integer="$2"
fraction="$3"
truth="$4"
nothing="$5"
list="$6"
object="$7"
negated=true
if "$truth"; then negated=false; fi
jq -n --arg text "$text!" --argjson integer "$((integer + 1))" --argjson fraction "$fraction" \
    --argjson truth "$negated" --argjson list "$list" --argjson object "$object" \
    --argjson nothing "$([[ $nothing == null ]] && echo true || echo false)" \
    '{$text, $integer, fraction: ($fraction / 2), $truth, $nothing, list: ($list | length),
      object: $object.inner}' >result.json
