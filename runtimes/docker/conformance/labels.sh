# image: {image:bash}
jq -c '{wm_labels: ["red", "blue"], value}'
