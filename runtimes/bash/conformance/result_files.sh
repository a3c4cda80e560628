echo "not this"
echo "nor this" >result.out
echo ' {"a": [1, true, 1.0]} ' >result.json
