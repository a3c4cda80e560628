echo "last words"
exit 3
