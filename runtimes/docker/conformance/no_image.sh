# command: ["echo"]
