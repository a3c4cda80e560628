# image: {image:bash}
printf '%s\n' 'WM_STREAM: one\ntwo'
echo between >&2
printf '%s\n' 'WM_STREAM: three'
