string="$1"
integer="$2"
float="$3"
truth="$4"
nothing="$5"
list="$6"
object="$7"
hostile="$8"
printf '%s|' "$string" "$integer" "$float" "$truth" "$nothing" "$list" "$object" "$hostile" >result.out
[[ ! -e /tmp/executed ]]
