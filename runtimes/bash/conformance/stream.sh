echo 'WM_STREAM: one\ntwo'
echo between
echo 'WM_STREAM: three'
