value="$1"
echo "{\"wm_labels\": [\"red\", \"blue\"], \"value\": $value}" >result.json
