sleep 60 &
(trap '' TERM; sleep 60) &
echo "at once"
