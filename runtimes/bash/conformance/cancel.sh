trap 'echo "cleaned up"; exit 1' TERM
echo begun
sleep 60 &
wait
