# image: {image:bash}
jq -c '{text: (.text + "!"), integer: (.integer + 1), fraction: (.fraction / 2), truth: (.truth | not),
        nothing: (.nothing == null), list: (.list | length), object: .object.inner}'
