-- $text (text)
select 1;
select error('it failed: ' || $text)
