-- :text (text)
select 1;
signal sqlstate '45000' set message_text = :text
